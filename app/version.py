"""The version of trade-recon that is installed."""

_PACKAGE = "trade-recon"
UNKNOWN = "of an unknown version"


def version() -> str:
    """The version; `UNKNOWN` where the code runs without being installed."""
    # Here, since the package takes a while to import, and only few commands show the version.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(_PACKAGE)
    except PackageNotFoundError:
        return UNKNOWN
