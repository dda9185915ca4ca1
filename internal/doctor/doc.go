// Package doctor says whether a node is fit for its sidecar, before anything is
// switched on: findings are values, made by pure functions over facts that others
// gather. It asks nothing and changes nothing.
package doctor
