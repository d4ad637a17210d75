# Connects the standard streams of a command to a TCP server, with what the image has for that. Parameters: the host, the
# port, the relay that worked before or nothing, the programs of perl and of python3, the pump.
#
# When there is a connection the first line of the output says so: the name of the relay, and "framed" or "raw". For those
# that cannot wait with it the line comes first, with "pending": standard error tells then.
for r in $3 perl python3 bash socat ncat nc; do
	command -v "$r" >/dev/null 2>&1 || continue
	case $r in
	perl)
		# Some images have the program without its modules.
		[ "$r" = "$3" ] || perl -MFcntl -MSocket=getaddrinfo -e 1 </dev/null >/dev/null 2>&1 || continue
		exec perl -e "$4" -- "$1" "$2"
		;;
	python3)
		[ "$r" = "$3" ] || python3 -I -S -c 'import socket, struct, threading' </dev/null >/dev/null 2>&1 || continue
		exec python3 -I -S -c "$5" "$1" "$2"
		;;
	bash)
		command -v cat >/dev/null 2>&1 || continue
		exec bash -c 'exec 3<&0 4>&1
exec 5<>"/dev/tcp/$1/$2" 6>&5 || exit 69
echo "bash raw"
'"$6" cwsandbox-relay "$1" "$2"
		;;
	socat)
		echo "socat pending"
		case $1 in
		*:*) exec socat -d -d -t 0.5 - "TCP:[$1]:$2" ;;
		esac
		exec socat -d -d -t 0.5 - "TCP:$1:$2"
		;;
	ncat | nc)
		# That of OpenBSD tells nobody when the server has ended the connection, so it is of no use.
		case $("$r" -h 2>&1 </dev/null) in
		*BusyBox*-e\ PROG*) e="-e /bin/sh -c" ;;
		Ncat*--sh-exec*) e=--sh-exec ;;
		"[v1.1"*"-q secs"*)
			echo "$r pending"
			exec "$r" -v -q 0 "$1" "$2"
			;;
		*) continue ;;
		esac
		command -v cat >/dev/null 2>&1 || continue
		exec 3<&0 4>&1
		exec "$r" "$1" "$2" $e "exec 5<&0 6>&1
echo '$r raw' >&4
$6"
		;;
	esac
done
exit 64
