package migrate

import (
	"fmt"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/quictransport"
)

// serveRecipe tells the source what this host is likely to have, and takes the
// recipe that it makes of that.
func (f *fetcher) serveRecipe(stream quictransport.Stream) error {
	if err := f.sendFilter(stream); err != nil {
		return fmt.Errorf("send the filter of the cache: %w", err)
	}
	free := make(chan *answer, localAnswers)
	for range localAnswers {
		free <- &answer{from: f, home: free, recipe: &wire.Recipe{}}
	}
	for left, last := recipeRounds*f.layout.Pages(), f.out.recipe == nil; !last; {
		var a *answer
		select {
		case a = <-free:
		case <-f.link.Done():
			return nil
		}
		if err := f.readRecipe(stream, a); err != nil {
			return fmt.Errorf("receive the recipe: %w", err)
		}
		n := a.recipe.Pages()
		if n > left {
			return fmt.Errorf("%w: the recipe has more pages than the guest", wire.ErrMalformed)
		}
		left, last = left-n, a.recipe.Last
		select {
		case f.out.bulk <- a:
			f.out.reader.Wakeup()
		case <-f.link.Done():
			return nil
		}
	}
	return nil
}

// sendFilter sends the filter in parts; without a cache it says so.
func (f *fetcher) sendFilter(stream quictransport.Stream) error {
	filter := f.out.filter
	size := uint32(len(filter))
	var frame []byte
	for {
		n := min(len(filter), wire.MaxFilterChunk)
		frame = wire.Filter{Size: size, Data: filter[:n]}.Append(frame[:0])
		if _, err := stream.Write(frame); err != nil {
			return err
		}
		if filter = filter[n:]; len(filter) == 0 {
			return nil
		}
	}
}

// readRecipe fills a with the next frame of the recipe.
func (f *fetcher) readRecipe(stream quictransport.Stream, a *answer) error {
	_, payload, err := wire.ReadFrameOf(stream, a.buffer, wire.TypeRecipe)
	if err != nil {
		return err
	}
	a.buffer = payload[:cap(payload)]
	if *a.recipe, err = wire.ParseRecipeInto(a.recipe.Parts, payload); err != nil {
		return err
	}
	run := lazymig.Run{First: a.recipe.First, Count: a.recipe.Pages()}
	if run.Count > 0 && !f.covers(run) {
		return fmt.Errorf("%w: recipe for pages %d to %d is outside the guest", wire.ErrMalformed, run.First, run.End())
	}
	return nil
}

// covers reports whether the guest has all pages of run, which may span regions.
func (f *fetcher) covers(run lazymig.Run) bool { return uint64(run.End()) <= f.layout.Pages() }
