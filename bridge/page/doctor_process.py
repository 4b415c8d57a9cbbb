"""The process that doctor runs in: a JSON object a line, as soon as it is known.

python -m bridge.page.doctor_process CONFIG [--no-probe]
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from bridge.commands.doctor.command import examine

if __name__ == "__main__":
    for line in examine(Path(sys.argv[1]), with_probe="--no-probe" not in sys.argv[2:]):
        sys.stdout.write(json.dumps(asdict(line)) + "\n")
        sys.stdout.flush()
