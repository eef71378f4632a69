#!/bin/sh
# Makes the secrets of docker-compose.yml in deploy/secrets. What is there already stays as it is.
set -eu

folder=$(dirname "$0")/secrets
mkdir -p "$folder"
# Compose mounts these files as they are, for users with other numbers: the files must be readable, the folder is closed.
chmod 700 "$folder"

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# keep NAME CONTENT: written beside and moved, so that an interrupted run leaves no half secret.
keep() {
    if [ -e "$folder/$1" ]; then
        echo "kept $folder/$1"
        return
    fi
    printf '%s\n' "$2" >"$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}

# Redis takes its password out of this URL, which salesfx connects with: see deploy/redis/redis.sh.
keep redis_url "redis://:$(random)@redis:6379/0"
keep http_token "$(random)"
keep grafana_admin_password "$(random)"
# Not ours to make: the password of the mail server that alerts are sent by. See prometheus/alertmanager.yml.
keep smtp_password "put the password of your mail server here"
