#!/usr/bin/env bash
# gen-node.sh DIR ID BASEPORT NODES: write DIR/server.properties for node ID of NODES.
# Node i takes clients on 127.0.0.1:BASEPORT+10*i and its controller talks on the port after that.
# Sessions are short, so that a node that was killed is back in seconds, and a transaction that ran out of time is looked
# for often; topics are never made by a mere mention.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
dir=$1 id=$2 base=$3 nodes=$4
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
port=$((base + 10 * id))

voters=
for i in $(seq "$nodes"); do
    voters+="${voters:+,}$i@127.0.0.1:$((base + 10 * i + 1))"
done
replicas=$((nodes < 3 ? nodes : 3))
in_sync=$((nodes < 3 ? 1 : 2))

cat >"$dir/server.properties" <<EOP
node.id=$id
process.roles=broker,controller
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=CLIENT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=CLIENT://127.0.0.1:$port
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=2
transaction.abort.timed.out.transaction.cleanup.interval.ms=5000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
EOP
