# The free profile (docs/cost.md), which lacks some of production's products. Staging has all of them.

# The values that only you know. The id is unique in all of Google Cloud, so choose your own, such as "progress-" with
# your initials and birthday: 6 to 30 lowercase letters, digits and hyphens.
project_id = "progress-dev"

# The column ACCOUNT_ID of `gcloud billing accounts list`
billing_account = "000000-000000-000000"

# The host that console.neon.tech shows at "Connect", with "Connection pooling" off: the part between @ and /.
neon = { host = "ep-example-dev.eu-central-1.aws.neon.tech" }

# Your organisation, which `infra/preflight dev` names
parent = "organizations/000000000000"

# Everything below works as it is.
environment = "dev"

# If GitHub Actions deliver (docs/releases.md): github = { repository = "OWNER/NAME" }

# The Google Cloud region nearest to your learners; the default is europe-west1, in Belgium:
# region = "asia-northeast1"

# Everybody with a Google account is a learner of their own data; nobody has a role. With the tokens of your app
# instead, teachers and administrators can sign in, too. For Firebase: auth = { audience = "PROJECT" }
auth = "google"

# The accounts that publish events, besides the owners of this project:
# publishers = { learning-events = ["serviceAccount:learning@PROJECT.iam.gserviceaccount.com"] }
#
# A subscription to the published events, which a program of the account pulls:
# event_subscriptions = {
#   progress-events-rewards-sub = { subscribers = ["serviceAccount:rewards@PROJECT.iam.gserviceaccount.com"] }
# }

database = "neon"
redis    = "none"

# Neon's free plan: each function opens at most five connections. A request to project that rebuilds opens four, and one
# that folds opens one.
functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 0, max_instances = 2 }
  project = { cpu = "2", memory = "2Gi", concurrency = 2, min_instances = 0, max_instances = 1 }
  query   = { cpu = "1", memory = "1Gi", concurrency = 1000, min_instances = 0, max_instances = 1 }
}
database_pool = { size = 3, past_sessions = 2, idle_seconds = 60 }

# Lets Neon's database sleep while there are no events, and keeps the job within the free minutes (see docs/cost.md).
batch_on_demand = true
batch_minutes   = 15

# Alerts cost money, by condition. Delete this line to turn all of them on, and set alert_emails.
alerts = []

# An open page keeps an instance busy (see docs/cost.md).
page_pause_minutes = 10

# Traces cost nothing at this volume (see docs/cost.md).
trace_sample_ratio = 1

# An e-mail warns of unexpected costs (see budget.tf). The amount is in the billing account's currency.
monthly_budget = 5
