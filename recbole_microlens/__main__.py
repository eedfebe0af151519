"""``python -m recbole_microlens`` is the console command ``recbole-microlens``."""

import sys

from recbole_microlens.cli import main

sys.exit(main())
