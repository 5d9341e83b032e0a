"""The Google Cloud projects of infra/bootstrap."""

PROJECTS = {
    "dev": "progress-dev", "staging": "progress-staging", "prod": "progress-prod",
    "trial": "progress-trial", "images": "progress-images",
}  # fmt: skip


IN_ENVIRONMENTS = {name: id_ for name, id_ in PROJECTS.items() if name != "images"}
