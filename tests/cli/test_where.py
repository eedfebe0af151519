"""Where something is built: options that do not go together are refused before any work."""

from recbole_microlens import cli


def test_options_that_do_not_go_together_are_one_sentence(capsys):
    build = ["cache", "build", "tiny", "--model=SASRecV"]
    for command in (build, ["extract", "--dataset=tiny", "--encoder=x3d_xs"]):
        assert cli.main([*command, "--parts=3"]) == 2
        assert "--parts is for --engine ray" in capsys.readouterr().err
        assert cli.main([*command, "--engine=ray", "--shard=1/2"]) == 2
        assert "--shard is not for --engine ray" in capsys.readouterr().err
    assert cli.main([*command, "--engine=ray", "--tokens"]) == 2
    assert "not for --tokens" in capsys.readouterr().err
