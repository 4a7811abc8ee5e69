#!/bin/sh
# A network in which ports p0 to p6 of namespace $1 are used in the ways that a guard must notice;
# their other ends q0 to q6 are in namespace $2. See README.md.
set -e
here=$1 there=$2
ip netns add "$here"
ip netns add "$there"
ours() { ip -n "$here" "$@"; }
theirs() { ip -n "$there" "$@"; }
ours link set lo up
for number in 0 1 2 3 4 5 6; do
    ours link add "p$number" type veth peer name "q$number" netns "$there"
    ours link set "p$number" up
    theirs link set "q$number" up
done
# p0: nothing. p1: in a bridge that carries the default routes.
ours link add br0 type bridge
ours link set br0 up
ours link set p1 master br0
ours address add 10.1.0.2/24 dev br0
ours address add fd01::2/64 dev br0 nodad
ours route add default via 10.1.0.1
ours -6 route add default via fd01::1
# p2: an address, and the default route of a table of its own, with two next hops.
ours address add 10.2.0.2/24 dev p2
ours route add default table 100 nexthop via 10.2.0.1 nexthop via 10.2.0.7
# p3: a macvlan here. p4: one in another namespace, as a container has it.
ours link add link p3 name mv3 type macvlan mode bridge
ours link add link p4 name mv4 type macvlan mode bridge
ours link set mv4 netns "$there"
# p5: an address for a time. p6: one with which an ssh server may be reached.
ours address add 10.5.0.2/24 dev p5 valid_lft 3600 preferred_lft 3600
ours address add 10.6.0.2/24 dev p6
theirs address add 10.6.0.1/24 dev q6
