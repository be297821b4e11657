"""The entry point of `trade-recon`, which handles Ctrl-C before slow imports."""

from app.interruption import end_quietly


def main() -> None:
    """Run the command line."""
    end_quietly()
    from app.cli.app import main as command

    command()


if __name__ == "__main__":
    main()
