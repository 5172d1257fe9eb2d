"""Entry point of `tikhub-mcp` and `python -m tikhub_mcp`.

Removes the working directory from `sys.path` before anything else of the package is loaded.
"""

import sys

from tikhub_mcp.isolation import leave_out_working_directory


def main() -> int:
    """Run the command line, or the server when no command is given, and return the exit code."""
    leave_out_working_directory()
    from tikhub_mcp.cli import main as cli_main

    return cli_main.main()


if __name__ == "__main__":
    sys.exit(main())
