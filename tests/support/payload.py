"""What an attacker pickles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Payload:
    """Makes the file `mark` when it is unpickled as usual."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)
