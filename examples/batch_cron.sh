#!/bin/sh
# A job at half the price, from cron: submitted once, looked at now and then, fetched when done.
#   */20 * * * *  OPENAI_API_KEY=... /srv/app/batch_cron.sh >>/var/log/summaries.log 2>&1
# Each step may be killed and run again: the same --job-id is the same job.
# Exit code: 0 all answered or not done yet, 1 some failed, 2 usage, 3 configuration.
set -eu
input=${1:-examples/prompts.txt}
output=${2:-answers-$(date +%F).jsonl}
job=${3:-summaries-$(date +%F)}
[ -e "$output" ] && exit 0
deluge-sync batch submit "$input" --job-id "$job" --model "${MODEL:-sandbox/echo}" >/dev/null
code=0
deluge-sync batch fetch "$job" -o "$output" || code=$?
if [ "$code" = 4 ]; then code=0; fi # not done yet: next time
exit "$code"
