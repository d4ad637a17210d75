# The main process of a leased sandbox: it runs a command, and ends it when heartbeats stop coming.
#
# Parameters: the name of the heartbeat file, the length of a tick in seconds, the number of ticks in the lease, the
# number of ticks after a SIGTERM in which no heartbeat can be expected; then the command and its arguments.
#
# What a shell starts in the background ignores SIGINT and SIGQUIT for good, and a shell that waits for something in the
# foreground is deaf to signals. So three shells share the work. This one is the main process. In the foreground it starts
# the starter, and that one the keeper, and that one the command, which begins by killing the starter: by that this shell
# hears again. The keeper reports in lines of a file that all of them hold open, and by signal 50, which nobody else uses.
#
# Any trap sets news, because bash may lose one of two signals that arrive together, and its read ends at a signal. Its
# wait misses a signal that comes between the last command and itself: that trap runs at the end of the tick.

# Shells comment on what is killed. The descriptor is for what is worth being in the logs.
exec 7>&2 2>/dev/null

name=$1 tick=$2 ticks=$3 patience=$4
shift 4
signals='HUP INT QUIT ABRT USR1 USR2 PIPE ALRM TERM CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR'
keeper= child= code= early= news= nap= last= quiet=0 armed=yes

starter_script='
trap : $2
/bin/sh -c "$4" "$0" $$ "$@"'

# The traps keep the keeper alive when a signal is sent to the whole group.
keeper_script='
starter=$1 main=$2 restore=$4 child_script=$6
trap : $3
shift 6
echo "keeper $$" >&9
/bin/sh -c "$child_script" "$0" "$starter" "$restore" "$@"
echo "code $?" >&9
kill -s 50 "$main"'

child_script='
echo "child $$" >&9
kill -s KILL "$1"
eval "$2"
shift 2
exec "$@" 2>&7 7>&- 8<&- 9>&-'

fail() {
	echo "cwsandbox lease: $1" >&7
	[ -z "$child" ] || kill -s KILL "$child"
	leave 127
}

# report takes in what the keeper and the command have written. It is not for traps, which may come in its middle.
report() {
	while read -r what value <&8; do
		case $what in
		keeper) keeper=$value ;;
		child) child=$value ;;
		code) code=$value ;;
		esac
	done
	[ -n "$child" ] || return
	for signal in $early; do kill -s "$signal" "$child"; done
	early=
}

forward() {
	news=yes
	if [ -n "$child" ]; then kill -s "$1" "$child"; else early="$early $1"; fi
}

# doze starts the sleeper, and leave ends with it. It is killed by SIGKILL, because at first it is a copy of this shell,
# traps included.
doze() {
	sleep "$tick" </dev/null >/dev/null 7>&- 8<&- 9>&- &
	nap=$!
}

leave() {
	kill -s KILL "$nap"
	exit "$1"
}

# look counts the ticks since the heartbeat was seen to change.
look() {
	now=
	for dir in /tmp /dev/shm; do
		[ ! -f "$dir/$name.off" ] || armed=
		[ ! -f "$dir/$name" ] || { read -r line <"$dir/$name" && now="$now $line"; }
	done
	quiet=$((quiet + 1))
	[ "$now" = "$last" ] || quiet=0
	last=$now
}

# original prints the commands that take out of the environment what shells add to it. SHLVL comes back under bash, as 0.
original() {
	environment=
	while IFS= read -r line || [ -n "$line" ]; do environment="$environment$line"; done </proc/self/environ
	for variable in PWD OLDPWD SHLVL _; do
		case $environment in
		*"$variable="*) ;;
		*) echo "unset $variable;" ;;
		esac
	done
}

for dir in "${TMPDIR:-/tmp}" /tmp /dev/shm; do
	file=$dir/$name.run
	if (: >"$file"); then break; fi
	file=
done
[ -n "$file" ] || fail 'no directory for temporary files can be written to'
sleep 0.001 || sleep 0 || fail 'the image has no sleep'

exec 8<"$file" 9>"$file"
for signal in $signals; do trap "forward $signal" "$signal"; done
trap "quiet=-$patience; forward TERM" TERM # the grace of a stop may be longer than the lease
trap 'news=yes; kill -s KILL "$nap"' 50
/bin/sh -c "$starter_script" "$0" $$ "$signals" "$(original)" "$keeper_script" "$child_script" "$@"
report
[ -n "$keeper" ] || fail 'the command cannot be started'

while :; do
	news=
	kill -0 "$keeper"
	kept=$?
	report
	[ -z "$code" ] || leave "$code"
	[ "$kept" -eq 0 ] || fail 'the keeper of the command was killed'

	[ -n "$nap" ] || doze
	[ -z "$news" ] || continue
	wait "$nap"
	status=$?
	if [ "$status" -ne 0 ] && kill -0 "$nap"; then continue; fi # a trap has ended the wait
	nap=
	[ "$status" -eq 0 ] || [ "$status" -gt 128 ] || fail "sleep $tick fails with status $status"
	[ "$status" -eq 0 ] || continue # a signal to the whole group, or the news
	look
	[ -z "$armed" ] || [ "$quiet" -lt "$ticks" ] || break
done

echo 'cwsandbox lease: no heartbeat has come for its length: the command ends' >&7
news=
kill -s TERM "$child"
doze
[ -n "$news" ] || wait "$nap"
kill -s KILL "$child"
leave 0
