"""The script that a monitor is started with: a `-I -S` interpreter knows no path but the library's.

Scripts are never cached as .pyc, so everything else stands in `main`.
"""

import gc
import sys

gc.disable()  # importing makes nothing to collect, and looking for it is 1 ms of each start
sys.path.insert(0, __file__.rsplit("/", 3)[0])

from engine.monitor.main import main  # noqa: E402

gc.enable()
main()
