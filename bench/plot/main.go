// Command plot draws results.
package main

func main() {}
