#!/usr/bin/env bash
# The least set of rights that Farthing needs on a broker with an authorizer, one a line; everything else is denied.
#
#   deploy/kafka/acls.sh broker:9092 --command-config admin.properties      # runs kafka-acls.sh, which must be on the PATH
#
# The topics are made beforehand, by someone who may (`farthing topics create`; the ledger's usage and heartbeat topics
# are compacted and have one partition). READ and WRITE contain DESCRIBE. Kafka 3.0 and later need no IDEMPOTENT_WRITE on
# the cluster: WRITE on a topic is enough; for older ones, and for nothing else, add it. Nothing here is on the cluster or
# on a wildcard. DESCRIBE_CONFIGS is for the sizes, keys and timestamps that an output topic takes: without it a worker
# assumes Kafka's defaults. Change the names to yours; a route with `pacing` needs READ on that topic too. For
# kafka.delivery = 'exactly_once' the worker needs WRITE on the transactional ids that begin with the group's name and a
# dot, too:
#   kafka-acls.sh ... --add --allow-principal User:farthing-worker --operation WRITE \
#     --transactional-id farthing. --resource-pattern-type prefixed
set -euo pipefail

rights() { # user, operation, resource, name, and how the name is matched
  cat <<'TABLE'
farthing-worker  READ              topic  events.moderation       literal
farthing-worker  WRITE             topic  scores.moderation       literal
farthing-worker  WRITE             topic  events.moderation.dead  literal
farthing-worker  DESCRIBE_CONFIGS  topic  scores.moderation       literal
farthing-worker  DESCRIBE_CONFIGS  topic  events.moderation.dead  literal
farthing-worker  WRITE             topic  farthing.usage          literal
farthing-worker  READ              topic  farthing.usage          literal
farthing-worker  WRITE             topic  farthing.heartbeats     literal
farthing-worker  READ              group  farthing                literal
farthing-ledger  READ              topic  farthing.usage          literal
farthing-ledger  READ              topic  farthing.heartbeats     literal
farthing-ledger  READ              topic  farthing-ledger-        prefixed
farthing-ledger  WRITE             topic  farthing-ledger-        prefixed
farthing-ledger  CREATE            topic  farthing-ledger-        prefixed
farthing-ledger  READ              group  farthing-ledger         literal
farthing-audit   READ              topic  scores.moderation       literal
farthing-audit   READ              topic  events.moderation.dead  literal
TABLE
}

[ "$#" -ge 1 ] || { echo "usage: acls.sh HOST:PORT [more arguments of kafka-acls.sh]" >&2; exit 2; }
server=$1
shift
rights | while read -r user operation resource name match; do
  kafka-acls.sh --bootstrap-server "$server" "$@" --add --allow-principal "User:$user" \
    --operation "${operation//_/}" "--$resource" "$name" --resource-pattern-type "$match" </dev/null
done
