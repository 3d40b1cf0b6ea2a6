#!/bin/sh
# A nightly job. In the crontab:
#   15 2 * * *  OPENAI_API_KEY=... /srv/app/cron.sh >>/var/log/summaries.log 2>&1
# Data goes to the file, log lines and the closing summary to stderr; no bar where no terminal is.
# Exit code: 0 all answered, 1 some failed, 2 usage, 3 configuration.
set -eu
input=${1:-examples/prompts.txt}
output=${2:-answers.jsonl}
exec deluge-sync map "$input" -o "$output" \
    --model "${MODEL:-sandbox/echo}" --max-requests-per-minute auto --max-tokens-per-minute auto
