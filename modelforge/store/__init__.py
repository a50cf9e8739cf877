"""TinyDB made durable: records of datasets, runs and models in one file, replaced atomically.

store.py       Store: the three tables, transactions, the message of what had to be repaired
table.py       one kind of record: add, get, find, all, update, delete, count
records.py     DatasetRecord, RunRecord, ModelRecord, RunState
storage.py     TinyDB's storage and table, with transactions
durable.py     the file: read whole, replaced whole, backed up, repaired, migrated
envelope.py    its bytes: schema version and checksum
migrations.py  older files upgraded
manifests.py   records rebuilt from the folders of models and datasets
lock.py        one lock for threads and processes
files.py       single steps on disk
"""

from modelforge.store.records import DatasetRecord, ModelRecord, Record, RunRecord, RunState, utc_now
from modelforge.store.store import Store
from modelforge.store.table import Table

__all__ = ["DatasetRecord", "ModelRecord", "Record", "RunRecord", "RunState", "Store", "Table", "utc_now"]
