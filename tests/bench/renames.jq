# The peers' ten renames, as jq does them.
{"@timestamp": .ts, event: {id: .uid}, source: {ip: ."id.orig_h", port: ."id.orig_p", bytes: .orig_ip_bytes},
 destination: {ip: ."id.resp_h", port: ."id.resp_p", bytes: .resp_ip_bytes}, network: {transport: .proto},
 zeek: {connection: {state: .conn_state}}}
