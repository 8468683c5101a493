package streams

// tableAggregateNode subtracts old rows and adds new ones. As in Kafka Streams, nothing is
// taken from a group that is not there: it does not have the row.
type tableAggregateNode[K, V, A any] struct {
	folding[K, A]
	how Aggregation[K, V, A]
}

func (n *tableAggregateNode[K, V, A]) receive(r *Record[K, Change[V]]) error {
	key, ok, err := begin(&n.folding, r)
	if !ok {
		return err
	}
	c := &n.in.Value
	switch {
	case !c.HasOld && !r.Value.HasNew:
		return nil
	case !c.HasOld:
		c.New = n.how.Init()
	case r.Value.HasOld:
		c.New = n.how.Subtract(r.Key, r.Value.Old, c.New)
	}
	if r.Value.HasNew {
		c.New = n.how.Add(r.Key, r.Value.New, c.New)
	}
	return n.set(key, n.how.Empty)
}
