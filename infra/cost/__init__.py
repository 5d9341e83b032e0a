"""What a month costs: `python -m infra.cost` writes the tables and the chart of docs/cost.md."""
