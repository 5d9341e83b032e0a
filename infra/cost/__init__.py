"""The model of the monthly cost. `python -m infra.cost` writes the tables of docs/cost.md."""
