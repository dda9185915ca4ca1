package stream

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/messages"
)

func TestPlaceInTheQueueIsKept(t *testing.T) {
	var q queue
	now := time.Now()
	a, b, again := &upload{}, &upload{}, &upload{}
	first, second := waiter{"db2", "data"}, waiter{"db3", "data"}
	q.enter(first, a, now)
	q.enter(second, b, now)
	if q.first() != a {
		t.Error("who came first is not first")
	}
	q.stepOut(a, now)
	if q.first() != b || q.len() != 1 {
		t.Errorf("who is away holds the others up; %d wait", q.len())
	}
	q.enter(first, again, now.Add(placeKept))
	if q.first() != again || q.len() != 2 {
		t.Error("who came back in time is not first again")
	}
	q.stepOut(again, now)
	q.enter(second, b, now.Add(placeKept+1))
	q.enter(first, a, now.Add(placeKept+1))
	if q.first() != b {
		t.Error("who was away for too long is before the others")
	}
}

// However they come, go and come back: among those who are here, those who have
// waited longer, without being away for too long, are served first.
func TestNobodyIsOvertakenInTheQueue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q queue
		now := time.Now()
		here := map[messages.NodeName]*upload{}
		since := map[messages.NodeName]int{} // of its place
		for step := range 100 {
			node := rapid.SampledFrom([]messages.NodeName{"a", "b", "c", "d"}).Draw(rt, "node")
			switch u := here[node]; {
			case u == nil:
				here[node] = &upload{}
				q.enter(waiter{reader: node}, here[node], now)
				if _, kept := since[node]; !kept {
					since[node] = step
				}
			case rapid.Bool().Draw(rt, "served"):
				q.leave(u)
				delete(here, node)
				delete(since, node)
			default:
				q.stepOut(u, now)
				delete(here, node)
			}
			for node := range here {
				for other, v := range here {
					if q.first() == v && since[node] < since[other] {
						rt.Fatalf("%s is before %s: %v", other, node, since)
					}
				}
			}
		}
	})
}
