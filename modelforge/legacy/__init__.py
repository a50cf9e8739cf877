"""The models of the first ModelForge, taken over. It kept them in SQLite; that file and its folders are only read.

service.py    Legacy: is there something to import, and import it
database.py   the old file: found, copied aside, its rows read as they are
rows.py       a row as our words: id, name, task, time, method
adapter.py    the files of a row: which are safe and whole, copied into a folder of ours
"""

from modelforge.legacy.service import Imported, Legacy

__all__ = ["Imported", "Legacy"]
