#!/bin/sh
# The Redis of docker-compose.yml: `redis.sh start` becomes the server, `redis.sh check` is its health check.
#
# The password is the one in the URL that salesfx connects with: one secret, so that the two sides cannot disagree. The
# configuration goes in through standard input, so that the password is on no command line.
set -eu
umask 0077

url=$(cat "${REDIS_URL_FILE:-/run/secrets/redis_url}")
case $url in
redis://:*@*) ;;
*)
    echo "the secret redis_url must look like redis://:PASSWORD@redis:6379/0" >&2
    exit 2
    ;;
esac
password=${url#redis://:}
password=${password%@*}
case $password in
'' | *[!0-9A-Za-z_-]*)
    # Others would have to be escaped in the URL, and again in the configuration.
    echo "the password in the secret redis_url must be of letters, digits, - and _" >&2
    exit 2
    ;;
esac

case ${1-} in
start)
    # No eviction: a record that is thrown out is a number that is wrong.
    exec redis-server - <<CONFIGURATION
dir /data
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
protected-mode no
requirepass $password
CONFIGURATION
    ;;
check)
    # redis-cli ends with 0 also where the answer is an error.
    answer=$(REDISCLI_AUTH=$password redis-cli ping)
    [ "$answer" = PONG ]
    ;;
*)
    echo "usage: redis.sh start|check" >&2
    exit 2
    ;;
esac
