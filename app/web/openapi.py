"""`python -m app.web.openapi` prints openapi.yaml; it needs PyYAML."""

import sys

import yaml

from app.web.app import build_app


def document() -> str:
    """The document as YAML text."""
    text: str = yaml.safe_dump(
        build_app().openapi(), sort_keys=False, allow_unicode=True, width=120
    )
    return text


if __name__ == "__main__":
    sys.stdout.write(document())
