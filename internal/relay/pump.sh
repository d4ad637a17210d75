# Copies between the connection, descriptors 5 and 6, and the command's own streams, 3 and 4. The side of the server ends all;
# so does the end of the input. A server that takes no more may still have something to say.
cat <&5 >&4 &
r=$!
{
	trap 'kill "$c" 2>/dev/null; exit' TERM
	cat <&3 >&6 2>/dev/null &
	c=$!
	wait "$c" && kill "$r"
} 2>/dev/null &
w=$!
wait "$r"
s=$?
kill "$w" 2>/dev/null
case $s in
0 | 143) exit 0 ;;
esac
exit 70
