package state

import "errors"

// overflow is the part of a Cache that writes changes to a Stage when they are too many
// for memory.
type overflow struct {
	stage *Stage // nil when there is none
	id    ID
	below Reader // the DB, once something is staged; nil before
}

// Overflow lets the cache, which is that of the store id, write its changes to s when all
// caches of s together hold too many and this one more than its own bound.
func (c *Cache) Overflow(s *Stage, id ID) { c.stage, c.id = s, id }

// soil accounts for n bytes more of changes, or less.
func (c *Cache) soil(n int64) {
	c.dirt += n
	if c.stage != nil {
		c.stage.Use(n)
	}
}

// relieve stages the changes when they are too many.
func (c *Cache) relieve() error {
	if c.stage == nil || c.dirt <= c.limit || c.stage.used <= c.stage.limit {
		return nil
	}
	return c.spill()
}

// spill stages the changes. What stays in the cache is clean: it repeats what is below it.
func (c *Cache) spill() error {
	for _, e := range c.order {
		if err := c.stage.put(c.id, e.key, e.val, e.has); err != nil {
			return err
		}
	}
	if err := c.stage.flush(); err != nil {
		return err
	}
	if c.below == nil && c.stage.db != nil {
		c.below = c.base
		c.base = &overlay{top: c.stage.reader(c.id), base: c.below}
	}
	c.clean()
	return nil
}

// flushStaged is Flush of what was staged, in the order of the keys.
func (c *Cache) flushStaged(withOld bool, visit func(Entry) error) (err error) {
	if err := c.spill(); err != nil {
		return err
	}
	it := c.stage.reader(c.id).Scan(Range{})
	var old []byte
	defer func() { err = errors.Join(err, it.Close()) }() // Also when visit panics.
	for err == nil && it.Next() {
		last := len(it.Value()) - 1
		e := Entry{Key: it.Key(), New: it.Value()[:last], HasNew: it.Value()[last] == changeSet}
		if withOld || !e.HasNew {
			if old, e.HasOld, err = c.below.Get(old[:0], e.Key); err != nil {
				break
			}
			if e.Old = old; !e.HasOld && !e.HasNew {
				continue // Came and went between two commits.
			}
		}
		err = visit(e)
	}
	return err
}

// unstage ends the reading of what is staged, which is in the DB now, or nowhere.
func (c *Cache) unstage() {
	if c.below != nil {
		c.base, c.below = c.below, nil
	}
}
