# shellcheck shell=bash
# jvm.sh: what the scripts of the broker and of the search engines share; they source it. here: the folder of the one that does;
# jars: where its jars are kept; train: a function of its that starts the server once with "${archive[@]}" and ends it.
#
# These servers live for a minute, and half of what a start costs is finding and checking classes. So an archive of them is written
# once (JEP 350); a JVM that cannot use it (another one, another class path) starts without. The quick compiler is enough.
# SPDX-License-Identifier: Apache-2.0
java_options=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData)
archive=()

# What the jars were made from: another of these, and they are made anew.
jvm_made_from() { # sources…
    cat "$here/pom.xml" "${BASH_SOURCE[0]}" "$@"
    stat -L -c '%n %Y' "$(command -v java)"
}

# Jars with Maven, our own sources beside them (in a jar: an archive knows no folders), and the archive; once.
jvm_fetch() { # sources…
    local want
    want=$(jvm_made_from "$@" | cksum)
    if [ "$(cat "$jars/.done" 2>/dev/null)" != "$want" ]; then
        mkdir -p "$jars"
        exec 9>"$jars/.lock"
        flock 9
        [ "$(cat "$jars/.done" 2>/dev/null)" = "$want" ] || jvm_make "$want" "$@"
        exec 9>&-
    fi
    [ ! -f "$jars/classes.jsa" ] || archive=("-XX:SharedArchiveFile=$jars/classes.jsa")
}

jvm_make() { # want sources…
    local want=$1
    shift
    echo "fetching jars into $jars" >&2
    rm -rf "$jars"/*.jar "$jars"/classes*
    mvn -B -q -ntp -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    if [ $# -gt 0 ]; then # beside the jars and not from its source: only classes of one loader share a package
        java -m jdk.compiler/com.sun.tools.javac.Main -nowarn -cp "$(printf '%s:' "$jars"/*.jar)" -d "$jars/classes" "$@" >&2
        (cd "$jars/classes" && python3 -m zipfile -c ../ours.jar ./*)
        rm -rf "$jars/classes"
    fi
    archive=("-XX:ArchiveClassesAtExit=$jars/classes.new")
    if train && [ -f "$jars/classes.new" ]; then
        mv "$jars/classes.new" "$jars/classes.jsa"
    else
        echo "no archive of classes in $jars: each start will take longer" >&2
    fi
    archive=()
    printf '%s\n' "$want" >"$jars/.done"
}

# Signal a server, and wait until it is gone: its ports can be used again.
jvm_end() { # signal folder
    local pid
    pid=$(cat "$2/pid")
    kill "-$1" "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.05
    done
}

# The first of two ports in a row where nobody listens, below those that the kernel gives to connections.
jvm_port() {
    local port
    for port in $(shuf -i 12000-31000 -n 50); do
        if ! { : <"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null && ! { : <"/dev/tcp/127.0.0.1/$((port + 1))"; } 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    return 1
}

# ---- a search engine: start_java DIR PORT SETTING… execs it -----------------------------------------------------------------------

engine_start() { # dir port setting=value…
    local folder=$1 port=$2
    mkdir -p "$folder"
    start_java "$@" >>"$folder/engine.log" 2>&1 </dev/null 9>&- &
    echo $! >"$folder/pid"
    for _ in $(seq 600); do
        curl -sf -o /dev/null "http://127.0.0.1:$port/_cluster/health?wait_for_status=yellow" && return
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
        sleep 0.1
    done
    tail -20 "$folder/engine.log" >&2
    return 1
}

engine_train() {
    local folder
    folder=$(mktemp -d)
    if engine_start "$folder" "$(jvm_port)"; then
        jvm_end TERM "$folder"
    fi
    rm -rf "$folder"
}

engine_main() { # script's arguments; ours: sources
    case ${1:-} in
    fetch)
        jvm_fetch "${ours[@]}"
        ;;
    start)
        shift
        jvm_fetch "${ours[@]}"
        engine_start "$@"
        ;;
    stop)
        jvm_end TERM "$2"
        ;;
    kill)
        jvm_end KILL "$2"
        ;;
    *)
        sed -n '2,5p' "$0" >&2
        exit 100
        ;;
    esac
}
