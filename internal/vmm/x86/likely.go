package x86

// Likely returns frames that the guest's processors are likely to touch next, at
// most most, those that are needed first at the front:
//
//  1. The page tables that the processors went through, but for the lowest ones
//     of processes: a walk through them is the first thing that each processor
//     does.
//  2. The pages that registers point to.
//  3. What the kernel keeps for each processor: it lies around the task state.
//     Of these frames those count that hold addresses.
//  4. The stacks that these point to, and what is on them: the way back out of
//     the last interrupts, and out of what sleeps until a timer wakes it.
//  5. All that 3 points to: the tasks, their queues, the code of timers.
//  6. The lowest page tables of processes.
//
// Accessed bits of pages say nothing here: Linux does not clear them while it
// has memory, so that nearly all are set.
func Likely(memory Memory, cpus []CPU, most int) []uint64 {
	l := list{has: map[uint64]bool{}, most: most}
	f := &frames{memory: memory, read: map[uint64]*[entries]uint64{}, finds: maxFinds}
	var last []uint64
	for _, c := range cpus[:min(len(cpus), maxCPUs)] {
		if levels := c.levels(); levels > 0 {
			s := space{frames: f, root: frameOf(c.CR3), levels: levels}
			last = append(last, l.addTables(s)...)
			l.addAround(s, c)
		}
	}
	l.add(last...)
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

// addTables adds the page tables of s, and returns the lowest ones of processes.
func (l *list) addTables(s space) (last []uint64) {
	levels := s.tables(maxTables)
	for i, tables := range levels {
		for _, t := range tables {
			if i == len(levels)-1 && !isKernel(t.address) {
				last = append(last, t.frame)
				continue
			}
			l.add(t.frame)
		}
	}
	return last
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
	again, code := s.pointed(stacks)
	l.add(code...)
	l.add(others...)
	l.add(again...)
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

// pointed lists the frames that the words of others lead to. Those that are
// mapped singly and hold no code are taken for stacks, of which words lead to
// the end.
func (s space) pointed(from []uint64) (stacks, others []uint64) {
	seen := map[uint64]bool{}
	for _, number := range from {
		frame := s.frames.get(number)
		if frame == nil {
			continue
		}
		for _, word := range frame {
			at, ok := s.kernelAt(word)
			switch {
			case !ok || seen[at.frame]:
			case at.small && at.entry&noExecute != 0:
				stacks = s.addStack(stacks, word, seen)
			case len(others) < maxPointed:
				seen[at.frame] = true
				others = append(others, at.frame)
			}
		}
	}
	return stacks, others
}

// addStack adds the frames of a stack to which an address belongs, or whose end
// it is.
func (s space) addStack(stacks []uint64, address uint64, seen map[uint64]bool) []uint64 {
	for i := range uint64(stackPages + 1) {
		at, ok := s.find(address - i*PageSize)
		if !ok || !at.small || at.entry&noExecute == 0 {
			break // the page that guards the stack
		}
		if !seen[at.frame] && len(stacks) < maxPointed {
			seen[at.frame] = true
			stacks = append(stacks, at.frame)
		}
	}
	return stacks
}
