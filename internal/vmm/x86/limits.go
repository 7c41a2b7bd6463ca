package x86

const (
	// maxCPUs bounds the processors that are looked at. The tables of an address
	// space are most often shared by all of them.
	maxCPUs = 64
	// maxRegisters bounds the addresses that are taken of one processor.
	maxRegisters = 32
	// maxReads bounds the frames that are read for one answer: 16 MiB.
	maxReads = 4096
	// maxFinds bounds the addresses that are followed for one answer: a tenth of a
	// second.
	maxFinds = 1 << 20
	// maxTables bounds the page tables that are listed of one address space.
	maxTables = 512
	// perCPUNear is how many frames to each side of a processor's task state
	// belong to what the kernel keeps for that processor and uses at each
	// interrupt, perCPUFar how many frames behind it may.
	perCPUNear = 32
	perCPUFar  = 64
	// leastPointers is how many addresses of the kernel a frame has to hold to
	// count as data that is in use.
	leastPointers = 4
	// stackPages is how long a stack is: the pointers to it that are kept lead to
	// its end.
	stackPages = 4
	// maxPointed bounds the frames that others point to, at each step.
	maxPointed = 192
)
