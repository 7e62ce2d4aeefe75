#!/bin/sh
# Writes the stack's secrets, random, as files in a folder (deploy/secrets unless one is named). It overwrites none.
set -eu
folder=${1:-$(dirname "$0")/secrets}
if [ -e "$folder/postgres_password" ]; then
    echo "$folder has secrets already; they are left as they are" >&2
    exit 1
fi
# Containers read the files as users of their own; the folder keeps the other users of this host out.
umask 022
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
write() { printf '%s\n' "$2" >"$folder/$1"; }

database=$(random 32)
broker=$(random 32)
access=$(random 10)
secret=$(random 32)
write robxfer_database_url "postgresql+psycopg://robxfer:$database@postgres:5432/robxfer"
write valkey_conf "requirepass $broker
save \"\"
appendonly no"
write robxfer_broker_url "redis://:$broker@broker:6379/0"
write robxfer_s3_access_key "$access"
write robxfer_s3_secret_key "$secret"
write s3_config "{\"identities\": [{\"name\": \"robxfer\", \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\", \"Tagging\"],
  \"credentials\": [{\"accessKey\": \"$access\", \"secretKey\": \"$secret\"}]}]}"
write postgres_password "$database"
