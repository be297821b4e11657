"""`python -m app.web.openapi` prints the OpenAPI document of the app as YAML: what openapi.yaml in
the project's root holds.

For development: it needs PyYAML, which the service itself does not.
"""

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
