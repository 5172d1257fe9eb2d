"""Where `tikhub-mcp` and `python -m tikhub_mcp` begin: what imports the rest leaves the working directory out."""

import sys

from tikhub_mcp.isolation import leave_out_working_directory


def main() -> int:
    """Run a command of the command line, or the server; the process's exit code."""
    leave_out_working_directory()
    from tikhub_mcp.cli import main as cli_main

    return cli_main.main()


if __name__ == "__main__":
    sys.exit(main())
