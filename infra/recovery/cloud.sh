# For bash: `. infra/recovery/cloud.sh prod`. From then on `progress` runs where the database can be
# reached, in the release job with its owner's rights, and tells what it said; `progress schedule` runs here.

_tfvars="$(dirname "${BASH_SOURCE[0]}")/../terraform/environments/$1.tfvars"
if [ ! -f "$_tfvars" ]; then # no project set is whichever was used last
    unset PROJECT REGION CLOUDSDK_CORE_PROJECT CLOUDSDK_RUN_REGION
    unset -f progress
    echo "there is no environment '$1': expected one of $(cd "${_tfvars%/*}" && echo *.tfvars)" >&2
    return 1
fi
_said() { sed -n "s/^$1 *= *\"\(.*\)\".*/\1/p" "$_tfvars"; }

PROJECT="$(_said project_id)"
REGION="$(_said region)"
REGION="${REGION:-europe-west1}"
export PROJECT REGION CLOUDSDK_CORE_PROJECT="$PROJECT" CLOUDSDK_RUN_REGION="$REGION"

progress() {
    if [ "$1" = schedule ]; then
        command progress "$@" --project="$PROJECT" --region="$REGION"
        return
    fi
    local given execution ended said code=0
    given="$(printf '|%s' "$@")"
    execution="$(gcloud run jobs execute progress-release --async --args="^|^${given#|}" --update-env-vars=COLUMNS=200 --format='value(metadata.name)')" ||
        return 1
    echo "$execution runs: progress $*" >&2
    until ended="$(gcloud run jobs executions describe "$execution" --format='csv[no-heading](status.completionTime,status.succeededCount)')" &&
        [ "${ended%%,*}" ]; do
        sleep 5
    done
    [ "${ended#*,}" = 1 ] || code=1
    for _ in 1 2 3 4 5 6; do # lines take some seconds, and every command says something
        # Of this execution: a release, or another operator, may run the job at the same time.
        said="$(gcloud logging read "resource.type=cloud_run_job AND labels.\"run.googleapis.com/execution_name\"=\"$execution\"" \
            --order=asc --format='value(textPayload,jsonPayload.message)')"
        [ -z "$said" ] || break
        sleep 5
    done
    echo "${said:-it said nothing yet: look in the log of $execution}"
    return $code
}
