// Package patroni shows how Patroni makes replicas with pgresync. Its test does so in
// the lab, with Debian's Patroni and etcd.
package patroni
