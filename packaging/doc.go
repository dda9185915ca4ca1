// Package packaging holds what a distribution needs: units of systemd, scripts of
// FreeBSD's rc, example configuration, and the recipe of the deb and the rpm. Its
// tests hold the units to their rules, and install the deb in the lab.
package packaging
