# Source this file in bash: `. infra/recovery/cloud.sh prod`. It defines the shell function `progress`, which runs a
# command in the environment's release job, with the privileges of the database's owner, and prints the job's output. A
# rebuild from the archive runs in the job `progress-rebuild`, which has more memory, and a dump in `progress-backup`,
# which may write into the bucket. `progress schedule` and Beam run locally.

_tfvars="$(dirname "${BASH_SOURCE[0]}")/../terraform/environments/$1.tfvars"
if [ ! -f "$_tfvars" ]; then # unset PROJECT, so that no command uses the previous environment
    unset TFVARS PROJECT REGION CLOUDSDK_CORE_PROJECT CLOUDSDK_RUN_REGION
    unset -f progress
    echo "unknown environment '$1': expected one of $(cd "${_tfvars%/*}" && echo *.tfvars)" >&2
    return 1
fi
_tfvar() { sed -n "s/^$1 *= *\"\(.*\)\".*/\1/p" "$_tfvars"; }

TFVARS="environments/$1.tfvars" # in infra/terraform
PROJECT="$(_tfvar project_id)"
REGION="$(_tfvar region)"
REGION="${REGION:-europe-west1}"
export TFVARS PROJECT REGION CLOUDSDK_CORE_PROJECT="$PROJECT" CLOUDSDK_RUN_REGION="$REGION"

# Restore the newest backup of Cloud SQL into an instance of its own, check it as the owner, and delete it.
_drill() {
    local backup host code=0 name
    name="drill-$(date -u +%Y%m%d-%H%M%S)"
    backup="$(gcloud sql backups list --filter='instance=progress AND state=SUCCESSFUL' --sort-by=~backupInterval.endTime --limit=1 --format='value(name)')" || return 1
    [ "$backup" ] || { echo "Cloud SQL has no backup" >&2 && return 1; }
    gcloud sql backups restore "$backup" --restore-instance="$name" --region="$REGION" --availability-type=ZONAL --quiet &&
        host="$(gcloud sql instances describe "$name" --format='value(ipAddresses[0].ipAddress)')" &&
        progress drill --host="$host" || code=1
    gcloud sql instances patch "$name" --no-deletion-protection --quiet || code=1
    gcloud sql instances delete "$name" --enable-final-backup --final-backup-retention-days=1 --quiet || { echo "delete $name, which costs money" >&2 && code=1; }
    [ $code = 0 ] && echo "The backup $backup was restored, and $name deleted."
    return $code
}

progress() {
    if [ "$1" = schedule ]; then
        command progress "$@" --project="$PROJECT" --region="$REGION"
        return
    fi
    if [[ " $* " = *" --engine beam "* ]]; then # the image has no Beam
        command progress "$@"
        return
    fi
    if [ "$*" = drill ] && [ "$(_tfvar database)" = cloud_sql ]; then
        _drill
        return
    fi
    local arguments execution status output previous code=0 job=progress-release
    [[ " $* " != *" --from-archive "* ]] || job=progress-rebuild
    [ "$1" != dump ] || job=progress-backup
    arguments="$(printf '|%s' "$@")"
    execution="$(gcloud run jobs execute $job --async --args="^|^${arguments#|}" --update-env-vars=COLUMNS=200 --format='value(metadata.name)')" ||
        return 1
    echo "$execution runs: progress $*" >&2
    until status="$(gcloud run jobs executions describe "$execution" --format='csv[no-heading](status.completionTime,status.succeededCount,spec.taskCount)')" &&
        [ "${status%%,*}" ]; do
        sleep 5
    done
    status="${status#*,}"
    [ "${status%,*}" = "${status#*,}" ] || code=1 # all tasks must have succeeded
    for _ in {1..12}; do # log lines arrive a few seconds late: read until nothing is added. Every command prints a line
        # Read only the lines of this execution, because a release or another operator may run the job at the same time.
        output="$(gcloud logging read "resource.type=cloud_run_job AND labels.\"run.googleapis.com/execution_name\"=\"$execution\"" \
            --order=asc --format='value(textPayload,jsonPayload.message)')"
        [ -z "$output" ] || [ "$output" != "$previous" ] || break
        previous="$output"
        sleep 5
    done
    echo "${output:-no output yet: read the log of $execution}"
    return $code
}
