"""`python -m tikhub_mcp` is `tikhub-mcp`."""

import sys

from tikhub_mcp.cli import main

sys.exit(main())
