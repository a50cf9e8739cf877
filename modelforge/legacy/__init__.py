"""Imports the models of the first ModelForge. It kept them in SQLite; that file and its folders are only read.

service.py    Legacy: finds and imports them
database.py   the old file: found, copied, its rows read
rows.py       a row in the terms of this version: id, name, task, time, method
adapter.py    the files of a row: checked, and copied into a model folder
"""

from modelforge.legacy.service import Imported, Legacy

__all__ = ["Imported", "Legacy"]
