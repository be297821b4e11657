"""`--fail-on`: ends of a run that fail."""

from collections.abc import Sequence
from typing import Annotated

import typer

from app.domain.runs.fail_on import Condition, FailOn, parse_fail_on, parse_share
from app.errors import InvalidRequest

FailOnWords = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="WHAT",
        help=(
            "End with 1 if the run leaves: action (something can be healed, is new or held),"
            " issues (any not accepted), new-issues, failed:5% (more failed accounts than"
            " that), none. Several: with commas, or given again. [default: action]"
        ),
    ),
]
FailAbove = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="The same as --fail-on failed:SHARE, such as 10%."),
]
FailOnIssues = Annotated[
    bool, typer.Option("--fail-on-issues", help="The same as --fail-on issues.")
]


def chosen(
    words: Sequence[str] | None, fail_above: str | None = None, *, issues: bool = False
) -> FailOn:
    """The chosen conditions; typer.BadParameter."""
    try:
        shares = [] if fail_above is None else [_share(fail_above)]
        return parse_fail_on(
            [*(words or ()), *shares, *([Condition.ISSUES.value] if issues else [])]
        )
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from None


def _share(text: str) -> str:
    parse_share(text)
    return f"failed:{text}"
