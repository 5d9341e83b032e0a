"""How much is still known after some days, from the archive in pandas: python archive.py FOLDER"""

import json
import sys

import duckdb
import pandas as pd

# While a file is replaced, two hold the same rows.
events = duckdb.read_parquet(f"{sys.argv[1]}/ranges/*/*.parquet").df()
events = events.drop_duplicates("global_position").sort_values(["occurred_at", "global_position"])

# Like the read models, leave out deleted learners and retracted answers.
fields = pd.DataFrame(events.event_data.map(json.loads).tolist(), index=events.index)
events = events.join(fields.reindex(columns=["item_id", "rating", "retracted_event_id"]))
is_deleted = events.stream_id.isin(events.stream_id[events.event_type == "UserDeleted"])
source_ids = events.metadata.map(lambda text: json.loads(text or "{}").get("source_id"))
retracted = events.retracted_event_id.dropna()  # as published: an id that is no UUID is replaced
is_retracted = events.event_id.astype(str).isin(retracted) | source_ids.isin(retracted)
is_answer = events.event_type.isin(["CorrectAnswerGiven", "IncorrectAnswerGiven", "CardReviewed"])
answers = events[is_answer & ~is_deleted & ~is_retracted]

days = answers.groupby(["stream_id", "item_id"]).occurred_at.diff().dt.days
classes = pd.cut(days, [0, 1, 2, 4, 8, 16, 32, 64], right=False)
is_wrong = (answers.event_type == "CardReviewed") & (answers.rating == 1)
is_correct = ~(is_wrong | (answers.event_type == "IncorrectAnswerGiven"))
print(is_correct.groupby(classes, observed=True).agg(["size", "mean"]).round(2).to_string())
