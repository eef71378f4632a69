"""`python -m salesfx.dashboards [FOLDER]`."""

import sys
from pathlib import Path

from salesfx.dashboards import FOLDER, write

write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
