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
    local given began said code=0
    given="$(printf '|%s' "$@")"
    began="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    gcloud run jobs execute progress-release --wait --args="^|^${given#|}" --update-env-vars=COLUMNS=200 || code=1
    for _ in 1 2 3 4 5 6; do # lines take some seconds, and every command says something
        said="$(gcloud logging read "resource.type=cloud_run_job AND resource.labels.job_name=progress-release AND timestamp>=\"$began\"" \
            --order=asc --format='value(textPayload,jsonPayload.message)')"
        [ -z "$said" ] || break
        sleep 5
    done
    echo "${said:-it said nothing yet: look in the log of progress-release}"
    return $code
}
