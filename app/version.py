"""The installed version."""

_PACKAGE = "trade-recon"
UNKNOWN = "of an unknown version"


def version() -> str:
    """The version; `UNKNOWN` if not installed."""
    # Imported here, since it is slow and few commands show the version.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(_PACKAGE)
    except PackageNotFoundError:
        return UNKNOWN
