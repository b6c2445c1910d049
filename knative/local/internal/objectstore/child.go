package objectstore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Main is to be called first in main, before flags are read: in the child that [Start] makes it runs the store and exits; in any other process it
// returns at once.
func Main() {
	if len(os.Args) != 2 || os.Args[1] != childArgument {
		return
	}
	if err := child(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // it is this process's main
	}
	os.Exit(0) //nolint:forbidigo // it is this process's main
}

// child runs the store that the first line of in describes, until in ends.
func child(in io.Reader) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	var s settings
	if err := json.Unmarshal(line, &s); err != nil {
		return errors.New("read settings: not the JSON of this version") // the text would quote the secret
	}
	data := filepath.Join(s.Dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return fmt.Errorf("make the directory of objects: %w", err)
	}
	if err := (meta.XattrMeta{}).Test(data); err != nil {
		return fmt.Errorf("the file system of %s has no extended attributes, which the object storage needs; choose another directory: %w", data, err)
	}
	be, err := posix.New(data, meta.XattrMeta{}, posix.PosixOpts{
		NewDirPerm: 0o755, Concurrency: 64, CopyObjectThreshold: 5 << 30,
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", data, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, lines) // its end is the sign, in whatever way it comes
		stop()
	}()
	err = embedgw.RunVersityGW(ctx, be, &embedgw.Config{
		RootUserAccess: s.AccessKey, RootUserSecret: s.SecretKey, Region: region,
		IAMService: auth.NewIAMServiceSingle(auth.Account{Access: s.AccessKey, Secret: s.SecretKey, Role: auth.RoleAdmin}),
		Ports:      []string{s.Listen}, MaxConnections: 1024, MaxRequests: 512, MultipartMaxParts: 10_000,
		KeepAlive: true, DisableACLs: true, Quiet: true, HealthPath: healthPath,
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve %s: %w", s.Listen, err)
	}
	return nil
}
