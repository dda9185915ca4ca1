// Package privileged separates what needs root from what parses what the network
// brings. A process that was started as root starts itself again as an ordinary user
// and stays behind as the privileged part: it has no business with the network, and
// does nothing but run, for the other one, the commands of a closed list.
//
// The two share a socket pair. The unprivileged part asks for a command by its whole
// argument list and passes the files that become its standard streams along, so that
// no data goes through the privileged part. The list is Policy's, which is made of
// what root configured, and is told nothing over the socket. What it holds against
// is a process that an attacker has taken over: that process may ask for anything, in
// any order, as often as it likes.
package privileged
