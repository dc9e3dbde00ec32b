"""Reads back what a sink left, by pyarrow or DuckDB alone. One JSON question a line on standard input, one JSON answer a line."""

import base64
import datetime
import json
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq


def plain(value):
    """What JSON has no word for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    return str(value)


def rows_of(table):
    """A time is a whole number in its column's unit: Python's own has no nanoseconds."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    return table.to_pylist()


def file_system(question):
    bucket = question.get("bucket")
    if bucket is None:
        return pafs.LocalFileSystem(), question["folder"]
    store = pafs.S3FileSystem(
        access_key=bucket["key"],
        secret_key=bucket["secret"],
        region=bucket["region"],
        scheme="http",
        endpoint_override=bucket["address"],
        connect_timeout=5,
        request_timeout=30,
    )
    return store, bucket["name"] + "/" + question["folder"] if question["folder"] else bucket["name"]


def hidden(path, root):
    """Readers of folders pass over names that begin so."""
    below = path[len(root) :].strip("/")
    return any(part.startswith(("_", ".")) for part in below.split("/"))


def data_files(store, root):
    found = store.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    return sorted(f.path for f in found if f.is_file and f.path.endswith(".parquet") and not hidden(f.path, root))


def by_pyarrow(question):
    store, root = file_system(question)
    files, rows = [], []
    for path in data_files(store, root):
        with store.open_input_file(path) as file:
            parquet = pq.ParquetFile(file)
            table = parquet.read()
            about = {k.decode(): v.decode() for k, v in (parquet.metadata.metadata or {}).items()}
            files.append(
                {
                    "path": path[len(root) :].strip("/"),
                    "rows": parquet.metadata.num_rows,
                    "row_groups": parquet.metadata.num_row_groups,
                    "schema": {field.name: str(field.type) for field in parquet.schema_arrow},
                    "metadata": {name: value for name, value in about.items() if name != "ARROW:schema"},
                }
            )
            rows.extend(rows_of(table))
    return {"files": files, "rows": rows}


def by_dataset(question):
    """As `pyarrow.dataset` reads a folder with partition folders, whose fields become columns."""
    import pyarrow.dataset as ds

    store, root = file_system(question)
    data = ds.dataset(data_files(store, root), format="parquet", filesystem=store, partitioning="hive", partition_base_dir=root)
    return {"files": [], "rows": rows_of(data.to_table())}


def by_duckdb(question):
    """From a folder alone: its module for S3 would have to be loaded from the network."""
    store, root = file_system(question)
    files = data_files(store, root)
    if not files:
        return {"files": [], "rows": []}
    with duckdb.connect() as connection:
        found = connection.execute("select * from read_parquet(?, union_by_name = true, hive_partitioning = true)", [files])
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row)) for row in found.fetchall()]
    return {"files": [{"path": os.path.relpath(path, root)} for path in files], "rows": rows}


READERS = {"pyarrow": by_pyarrow, "dataset": by_dataset, "duckdb": by_duckdb}

for line in sys.stdin:
    question = json.loads(line)
    try:
        if question["reader"] == "versions":
            answer = {"versions": f"pyarrow {pa.__version__}, DuckDB {duckdb.__version__}"}
        else:
            answer = READERS[question["reader"]](question)
    except Exception as error:  # Told to the test, which knows what it asked for.
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=plain), flush=True)
