"""The entry point of `trade-recon`: it provides for Ctrl-C before anything that takes time is
imported.
"""

from app.interruption import end_quietly


def main() -> None:
    """Run the command line."""
    end_quietly()
    from app.cli.app import main as command

    command()


if __name__ == "__main__":
    main()
