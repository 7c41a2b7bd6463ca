package x86

// Likely returns frames that the guest's processors are likely to touch next, at
// most most, those that are needed first at the front:
//
//  1. The page tables that the processors went through, but for the lowest ones
//     of processes: a walk through them is the first thing that each processor
//     does. Of those of processes, one in three hundred was needed soon.
//  2. The pages that registers point to.
//  3. What the kernel keeps for each processor: it lies around the task state.
//     Of these frames those count that hold addresses.
//  4. The stacks that these point to, and what is on them: the way back out of
//     the last interrupts, and out of what sleeps until a timer wakes it.
//  5. All else that 3 points to: the tasks, their queues, the code of timers.
//
// Accessed bits of pages say nothing here: Linux does not clear them while it
// has memory, so that nearly all are set.
func Likely(memory Memory, cpus []CPU, most int) []uint64 {
	l := list{has: map[uint64]bool{}, most: most}
	f := &frames{memory: memory, read: map[uint64]*[entries]uint64{}, finds: maxFinds}
	for _, c := range cpus[:min(len(cpus), maxCPUs)] {
		if levels := c.levels(); levels > 0 {
			s := space{frames: f, root: frameOf(c.CR3), levels: levels}
			l.addTables(s)
			l.addAround(s, c)
		}
	}
	return l.frames
}

// list is an answer that grows to its bound.
type list struct {
	frames []uint64
	has    map[uint64]bool
	most   int
}

func (l *list) add(frames ...uint64) {
	for _, f := range frames {
		if !l.has[f] && len(l.frames) < l.most {
			l.has[f] = true
			l.frames = append(l.frames, f)
		}
	}
}

// addTables adds the page tables of s.
func (l *list) addTables(s space) {
	levels := s.tables(maxTables)
	for i, tables := range levels {
		isLowest := i == len(levels)-1
		for _, t := range tables {
			if isLowest && isKernel(t.address) || !isLowest && s.isUsed(t.frame) {
				l.add(t.frame)
			}
		}
	}
}

// addAround adds what the registers of c lead to.
func (l *list) addAround(s space, c CPU) {
	for _, address := range c.Addresses {
		if at, ok := s.find(address); ok {
			l.add(at.frame)
		}
	}
	task, ok := s.find(c.Task)
	if !ok {
		return
	}
	own := s.ownOf(task.frame, perCPUFar)
	l.add(own...)
	near := s.ownOf(task.frame, perCPUNear)
	stacks, others := s.pointed(near)
	l.add(stacks...)
	_, trail := s.pointed(stacks)
	l.add(trail...)
	l.add(others...)
}

// ownOf lists the frames around that of a task state which hold addresses.
func (s space) ownOf(task uint64, behind uint64) []uint64 {
	var own []uint64
	for number := task - min(task, perCPUNear); number < task+behind; number++ {
		frame := s.frames.get(number)
		if frame == nil {
			continue
		}
		pointers := 0
		for _, word := range frame {
			if _, ok := s.kernelAt(word); ok {
				pointers++
			}
		}
		if pointers >= leastPointers {
			own = append(own, number)
		}
	}
	return own
}

// kernelAt follows a word that may be an address of the kernel.
func (s space) kernelAt(word uint64) (leaf, bool) {
	if !isKernel(word) {
		return leaf{}, false
	}
	return s.find(word)
}

// pointed lists the frames that the words of others lead to, and tells those of
// stacks.
func (s space) pointed(from []uint64) (stacks, others []uint64) {
	seen := map[uint64]bool{}
	add := func(to []uint64, frames ...uint64) []uint64 {
		for _, f := range frames {
			if !seen[f] && len(to) < maxPointed {
				seen[f] = true
				to = append(to, f)
			}
		}
		return to
	}
	for _, number := range from {
		frame := s.frames.get(number)
		if frame == nil {
			continue
		}
		for _, word := range frame {
			at, ok := s.kernelAt(word)
			if !ok || seen[at.frame] {
				continue
			}
			if stack := s.stackAt(word); stack != nil {
				stacks = add(stacks, stack...)
			} else {
				others = add(others, at.frame)
			}
		}
	}
	return stacks, others
}

// stackAt lists the frames of the stack that an address is in, from there to its
// guard, or nil: a stack is mapped singly, holds no code, and not far below an
// address in it is a page that is missing.
func (s space) stackAt(address uint64) []uint64 {
	var stack []uint64
	for i := range uint64(stackPages + 1) {
		at, ok := s.find(address - i*PageSize)
		switch {
		case !ok:
			return stack
		case !at.small || at.entry&noExecute == 0:
			return nil
		}
		stack = append(stack, at.frame)
	}
	return nil
}
